"""Run `mics` out of the folder that the module has installed it into: run_mics.py FOLDER ARGUMENT...

The folder comes before Slicer's own packages, whatever its launcher makes of PYTHONPATH.
"""

import runpy
import sys

if __name__ == "__main__":
    folder = sys.argv.pop(1)
    sys.path.insert(0, folder)
    runpy.run_module("mics", run_name="__main__", alter_sys=True)
