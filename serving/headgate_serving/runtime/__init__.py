"""The model and its runs: ONNX Runtime (`model.py`), the queue and the batches (`runner.py`), what the start measures
(`tryout.py`), and what is learnt while it serves (`joining.py`, `pace.py`). Knows no protocol.
"""

import os

# ONNX Runtime's builds report to their maker over the network, and keep a database in the home folder for it.
# A model server in somebody's cluster does neither; this has to be said before ONNX Runtime is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
