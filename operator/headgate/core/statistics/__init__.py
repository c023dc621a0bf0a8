"""Sequential tests that stay valid while one looks, and what they are fed with.

`counters` turns raw samples into blocks, `waiting` keeps those of one version until the other's come, `difference` is
the one test that everything else is made of, `errors` and `predictions` hold the accumulators of the two signals,
`combine` puts them under one alpha, `drift` compares live inputs with the reference profile.
"""
