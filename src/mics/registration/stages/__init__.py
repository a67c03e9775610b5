"""The stages of a registration, a file each; :mod:`mics.registration.plan` puts them in order."""
