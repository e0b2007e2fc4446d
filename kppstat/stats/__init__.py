"""Intervals for percentiles and proportions: numbers only, nothing here knows what a network is.

Each module holds one family and names its sources; import what you need from the module itself, so that
nobody pays for the numba kernels of another family.
"""
