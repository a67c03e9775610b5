"""The stages of a registration, a file each; :mod:`mics.registration.stage_order` puts them in order."""
