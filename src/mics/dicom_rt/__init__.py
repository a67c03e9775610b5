"""Radiotherapy's DICOM objects: structures, doses, series and registrations, read and written."""
