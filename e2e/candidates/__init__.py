"""Bad and good candidates with the default spec: what becomes of each, and what users see. `make faults`

`kinds.py` lists them, `trial.py` rolls one out, `__main__.py` does so with all and writes the table.
"""
