#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes a volume, writes into it, clones it, reads that from the clone, and drops both.

    example.py MOSAIC FOLDER
"""

import os
import sys

import mosaic


def run(name, at):
    with mosaic.Mosaic(name) as m:
        try:
            m.volume("py1")
        except mosaic.Error as error:
            assert error.kind == mosaic.NOT_FOUND, error
        m.make_fs("py1", 64 << 20)
        with m.volume("py1") as volume:
            with volume.mounted(at):
                with open(os.path.join(at, "greeting"), "w", encoding="utf-8") as file:
                    file.write("hello from Python\n")
            volume.clone("py2")
            with m.volume("py2") as clone:
                with clone.mounted(at), open(os.path.join(at, "greeting"), encoding="utf-8") as file:
                    print(file.read(), end="")
                    harmless = os.ST_NOSUID | os.ST_NODEV
                    assert os.statvfs(at).f_flag & harmless == harmless, f"{at} is mounted suid or dev"
                volume.drop()
                print(name, "has", m.volumes())
                clone.drop()
                print("py2" in m)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: example.py MOSAIC FOLDER")
    try:
        run(*sys.argv[1:])
    except mosaic.Error as failure:
        sys.exit(f"example.py: {failure}")
