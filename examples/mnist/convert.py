"""Write the IDX files of MNIST as CSV: `convert.py FOLDER_OF_IDX FOLDER_OF_CSV`."""

import hashlib
import sys
from pathlib import Path

# SHA-256 begins with these digits.
FILES = {
    "train": ("train-images-idx3-ubyte", "ba891046e6505d7a"),
    "test": ("t10k-images-idx3-ubyte", "0fa7898d509279e4"),
}
SHADES = ["0", *(f"{s / 255:.3f}".rstrip("0") for s in range(1, 255)), "1"]


def main(source: Path, target: Path) -> None:
    for name, (file, digest) in FILES.items():
        data = (source / file).read_bytes()
        if not hashlib.sha256(data).hexdigest().startswith(digest):
            sys.exit(f"{file} is not the file that was expected")
        count, rows, columns = (int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(3))
        pixels = rows * columns
        with open(target / f"{name}.csv", "w") as out:
            out.write(",".join(f"p{i}" for i in range(pixels)) + "\n")
            for i in range(count):
                image = data[16 + i * pixels : 16 + (i + 1) * pixels]
                out.write(",".join(map(SHADES.__getitem__, image)) + "\n")
        print(f"{name}.csv: {count} images of {pixels} pixels")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
