#!/usr/bin/env bash
# h5py 3.16.0 wrote a file with libver="latest"; h5py 3.11.0 reads it.
# Behaviour: the boolean attribute can't be read by the older library (its type is of HDF5 2.0). "in" and indexing raise,
# but attrs.get(name, default) gives the default, as if the attribute were not there: "can't be read" looks like "absent".
# Seen: "in: RuntimeError, get: gone, index: KeyError, plain: 7"; the plain integer of a file with bounds is read.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/new" && python3 -m venv "$work/old"
"$work/new/bin/pip" -q install h5py==3.16.0 numpy==2.4.6 2> /dev/null
"$work/old/bin/pip" -q install h5py==3.11.0 numpy==2.1.3 2> /dev/null
cd "$work"
new/bin/python - <<'PY'
import h5py, numpy as np
with h5py.File("file.h5", "w", libver="latest") as file:
    file.attrs["whole"] = True
with h5py.File("plain.h5", "w", libver=("v108", "v110")) as file:
    file.attrs["number"] = np.int64(7)
PY
old/bin/python - <<'PY'
import sys
import h5py
with h5py.File("plain.h5", "r") as file:
    number = int(file.attrs["number"])
with h5py.File("file.h5", "r") as file:
    seen = []
    for ask in (lambda: "whole" in file.attrs, lambda: file.attrs.get("whole", "gone"), lambda: file.attrs["whole"]):
        try:
            seen.append(str(ask()))
        except Exception as error:
            seen.append(type(error).__name__)
print("h5py {}, HDF5 {}: in: {}, get: {}, index: {}, plain: {}".format(
    h5py.__version__, h5py.version.hdf5_version, *seen, number))
sys.exit(not (seen[0] == "RuntimeError" and seen[1] == "gone" and seen[2].endswith("Error") and number == 7))
PY
