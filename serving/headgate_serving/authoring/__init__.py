"""Artifacts before they are served, by `headgate package`, `profile` and `drift`: profiles, golden samples, digests.

`table.py` reads training data, `inputs.py` turns it into what the model takes, `reference.py` makes `profile.json` of
it, `golden.py` makes `samples.json`, `package.py` makes the folder. Needs pyarrow, which a serving pod has not.
"""
