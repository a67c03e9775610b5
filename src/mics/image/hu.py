"""Hounsfield units that all agree on; no library is needed to know them."""

AIR_HU = -1000.0
"""What lies outside a scan's field of view."""
