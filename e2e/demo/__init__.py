"""The demo: four versions of a census model on a real cluster, two good ones and two bad ones.

    data.py -> models.py (+ graphs.py) -> facts.py      real rows, trained models, what is true of them
    artifacts.py                                        the folders that Headgate serves, cached by their inputs
    files.py, load.py (+ traffic.py, tally.py)          pods: the artifact server and the load generator
    story.py                                            the four acts, with deadlines and claims
    watch.py, live.py, report.py (+ plots.py)           what is seen, live and at the end

`python -m demo` plays it (`make demo`).
"""
