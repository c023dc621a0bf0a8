"""What goes in and what comes out, by bin: the reference profile, and the counters of live traffic.

The runtime counts every request with it, the router's agent sampled ones; `headgate profile` writes the
profile. Only counts leave this package, never a value.
"""

from .bins import CategoryBins, NumericBins
from .counter import InputForm, Monitor, monitor_of
from .metrics import MonitorCollector
from .outputs import predictions
from .profile import Feature, Prediction, Profile, build_profile, read_profile

__all__ = [
    "CategoryBins",
    "Feature",
    "InputForm",
    "Monitor",
    "MonitorCollector",
    "NumericBins",
    "Prediction",
    "Profile",
    "build_profile",
    "monitor_of",
    "predictions",
    "read_profile",
]
