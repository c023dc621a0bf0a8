"""Sequential tests that stay valid while one looks, and what they are fed with. Arrays only: no status, no spec.

`counters` turns raw samples into blocks, `waiting` keeps those of one version until the other's come, `difference` is
the one test that everything else is made of, `rates` and `shares` hold the accumulators of many rollouts at once,
`agreement` those of pairs, `drift` compares live inputs with the reference profile.
"""
