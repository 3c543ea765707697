"""Headers of JPEG and PNG files -> what they hold, and why one is not read; nothing is decoded. See docs/media.md.

What files do differently is decided here:

- A JPEG's scans are counted where it may have many: each costs a pass over all its pixels.
- A camera's frames begin with the same bytes: what was found in a header is known the next time it comes.
- An orientation (EXIF in a JPEG's first APP1, a PNG's eXIf) that cannot be read counts as none, as viewers have it.
- Of a PNG only the chunks that make up its pixels are kept: what lies beside them cannot harm a decoder that never
  sees it.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from simplejpeg import decode_jpeg_header

# The most that a JPEG can declare. Resizing takes memory for one side times the model's: 1 x 40,000,000 pixels, 77 KB
# as a PNG, took 27 GB.
MOST_SIDE = 65_535
# Encoders make up to about ten. With 64 a frame of 40 million pixels takes seconds, with the thousands that fit into
# a file hours.
MOST_SCANS = 64
# Metadata of a real file lies in some dozens of segments of up to 64 KiB.
_MOST_SEGMENTS = 1_000
# 8 MiB in pieces of 8 KiB, as libpng writes them, are 1,024.
_MOST_CHUNKS = 20_000
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33  # Signature 8, length 4, type 4, fields 13, CRC 4.
_FIRST_FRAME, _LAST_FRAME, _NO_FRAMES = 0xC0, 0xCF, (0xC4, 0xC8, 0xCC)
_PROGRESSIVE = (0xC2, 0xCA)
_READ = (0xC0, 0xC1, *_PROGRESSIVE, 0xC9)
_PROCESSES = {0xC3: "lossless", 0xC7: "lossless", 0xCB: "lossless", 0xCF: "lossless"}
_END, _SCAN, _APP1 = 0xD9, 0xDA, 0xE1
# Headers that are known, and how long one may be: a camera has one or two, of some 600 bytes each where no metadata
# change from frame to frame. All together stay under a megabyte.
_MOST_KNOWN, _LONGEST_KNOWN_BYTES = 256, 2_048
# Within a scan 0xff stands before 0 (a byte of data) and before the restart markers.
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
# Colour type -> what it is, and its bits.
_PNG_KINDS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CLEAR_BYTES = {0: 2, 2: 6}
PALETTE, _KEPT = 3, (b"IHDR", b"PLTE", b"IDAT", b"IEND")


class ImageError(ValueError):
    """It cannot be read; says what was found and what may stand there."""


class Jpeg(NamedTuple):
    """What a JPEG's header says. `orientation` is EXIF's, 1 to 8."""

    width: int
    height: int
    components: int
    orientation: int


class Png(NamedTuple):
    """A PNG's pixels and what they are.

    Attributes:
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        colours: of its palette.
        orientation: EXIF's, 1 to 8.
        clear: the grey or the RGB of this picture that is transparent; None where it tells of none.
        body: the file without what does not make up its pixels.
    """

    bits: int
    colour: int
    colours: int
    orientation: int
    clear: tuple[int, ...] | None
    body: bytes


_known: dict[bytes, Jpeg] = {}


def read_jpeg(body: bytes) -> Jpeg:
    """The header of a JPEG: 8 bits, sequential or progressive, Huffman or arithmetic, 1, 3 or 4 components.

    Raises:
        ImageError: it is none, of another kind, or takes too many scans.
    """
    scan = body.find(b"\xff\xda", 0, _LONGEST_KNOWN_BYTES)
    header = body[: scan + 2 + int.from_bytes(body[scan + 2 : scan + 4], "big")] if scan > 0 else b""
    return _known.get(header) or _read_jpeg(body, len(header))


def _read_jpeg(body: bytes, header_bytes: int) -> Jpeg:
    """Likewise; what holds for all that begin with these `header_bytes` is known from now on."""
    if body[:2] != b"\xff\xd8":
        raise ImageError("its first two bytes are not those of a JPEG")
    place, orientation, process, frame = 2, None, 0, b""
    for _ in range(_MOST_SEGMENTS):
        marker, place, segment = _segment(body, place)
        if marker == _SCAN:
            break
        if marker == _APP1 and orientation is None and segment.startswith(_EXIF):
            orientation = _orientation(segment[len(_EXIF) :])
        elif _FIRST_FRAME <= marker <= _LAST_FRAME and marker not in _NO_FRAMES:
            process, frame = marker, segment
    else:
        raise ImageError(f"it has more than {_MOST_SEGMENTS} segments before its pixels")
    width, height, components = _frame(process, frame)
    one_scan = process not in _PROGRESSIVE and segment[:1] == frame[5:6]
    if not one_scan:
        _check_scans(body, place)
    _check_colours(body, frame)
    found = Jpeg(width, height, components, orientation or 1)
    if one_scan and place == header_bytes:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[body[:place]] = found
    return found


def _segment(body: bytes, place: int) -> tuple[int, int, bytes]:
    """A segment's marker, where the next one begins, and what it holds."""
    if body[place : place + 1] != b"\xff":
        raise ImageError(f"it is cut off or damaged at byte {place}: a marker would stand there")
    while body[place + 1 : place + 2] == b"\xff":
        place += 1
    size = int.from_bytes(body[place + 2 : place + 4], "big")
    end = place + 2 + size
    if size < 2 or end > len(body):
        raise ImageError(f"it is cut off or damaged at byte {place}: a segment of {size} bytes")
    return body[place + 1], end, body[place + 4 : end]


def _frame(process: int, frame: bytes) -> tuple[int, int, int]:
    """Width, height and components."""
    if len(frame) < 6:
        raise ImageError("it has no frame header before its pixels")
    if process not in _READ:
        raise ImageError(
            f"its process is {_PROCESSES.get(process, 'hierarchical')} (marker {process:#04x}); "
            "send a baseline or progressive one"
        )
    bits, components = frame[0], frame[5]
    if bits != 8:
        raise ImageError(f"it has {bits} bits a sample; send 8")
    if components not in (1, 3, 4) or len(frame) < 6 + 3 * components:
        raise ImageError(f"it has {components} components; send grey (1), colour (3) or CMYK (4)")
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if not width or not height:
        raise ImageError(f"it declares {width} x {height} pixels")
    return width, height, components


def _check_scans(body: bytes, place: int) -> None:
    if body.count(b"\xff\xda") <= MOST_SCANS:
        return  # Such bytes also stand where no scan begins.
    scans = 1
    while found := _NEXT_MARKER.search(body, place):
        place, marker = found.end(), found[1][0]
        if marker == _END:
            return
        scans += marker == _SCAN
        if scans > MOST_SCANS:
            raise ImageError(f"it has more than {MOST_SCANS} scans, each a pass over all its pixels; send fewer")
        place += int.from_bytes(body[place : place + 2], "big")


def _check_colours(body: bytes, frame: bytes) -> None:
    """Asks the decoder itself, which says little."""
    try:
        decode_jpeg_header(body)
    except KeyError:
        return  # 4:4:1, which it decodes, and has no name for.
    except ValueError as error:
        if "subsampling" not in str(error):
            raise ImageError(str(error)) from error
        parts = ", ".join(f"{frame[n] >> 4}x{frame[n] & 15}" for n in range(7, 6 + 3 * frame[5], 3))
        raise ImageError(
            f"its components are sampled {parts}, which is not read; send 4:4:4, 4:2:2, 4:2:0, 4:4:0 or 4:1:1"
        ) from error


def _orientation(tiff: bytes) -> int:
    """EXIF's orientation out of a TIFF header and its first directory; 1 where it tells none."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(place: int, size: int) -> int:
        return int.from_bytes(tiff[place : place + size], "little" if order == "little" else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * min(number(directory, 2), len(tiff) // 12), 12):
        if number(entry, 2) == _ORIENTATION:
            told = number(entry + 8, 2)
            return told if 1 <= told <= 8 else 1
    return 1


def png_size(body: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the IHDR chunk, which comes first in every PNG.

    Raises:
        ImageError: it is none, or of a kind that no PNG is.
    """
    head = body[:_IHDR_END]
    if head[12:16] == b"CgBI":
        raise ImageError("it is Apple's CgBI, which no other reader knows; send a PNG")
    if len(head) < _IHDR_END or not head.startswith(PNG_SIGNATURE) or head[8:16] != b"\x00\x00\x00\rIHDR":
        raise ImageError(f"the first {len(head)} bytes hold no signature and IHDR")
    if zlib.crc32(head[12:29]) != int.from_bytes(head[29:33], "big"):
        raise ImageError("its checksum is wrong")
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if not width or not height:
        raise ImageError(f"it declares {width} x {height} pixels")
    if max(width, height) > MOST_SIDE:
        raise ImageError(f"{width} x {height} pixels: a side is over the limit of {MOST_SIDE}; send a smaller one")
    bits, colour, compression, filters, interlace = head[24:29]
    if bits not in _PNG_KINDS.get(colour, ()) or compression or filters or interlace > 1:
        raise ImageError(
            f"colour type {colour} of {bits} bits, compression {compression}, filter {filters}, interlace {interlace} "
            "is none that the standard knows"
        )
    return width, height


def read_png(body: bytes) -> Png:
    """A PNG's kind and its bare pixels, each chunk of them held against its checksum.

    Raises:
        ImageError: it is none, cut off, damaged, or asks for what is not read.
    """
    png_size(body)
    bits, colour, colours, orientation = body[24], body[25], 0, 1
    clear: tuple[int, ...] | None = None
    kept, place = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        size, name = int.from_bytes(body[place : place + 4], "big"), body[place + 4 : place + 8]
        end = place + 12 + size
        if end > len(body):
            raise ImageError(f"it is cut off at byte {min(place, len(body))}")
        data = body[place + 8 : end - 4]
        if name in _KEPT or (name == b"tRNS" and colour == PALETTE):
            if zlib.crc32(body[place + 4 : end - 4]) != int.from_bytes(body[end - 4 : end], "big"):
                raise ImageError(f"the checksum of its {name.decode()} chunk at byte {place} is wrong")
            kept.append(body[place:end])
            colours = size // 3 if name == b"PLTE" else colours
        elif name == b"tRNS" and size == _CLEAR_BYTES.get(colour):
            clear = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        elif name == b"eXIf":
            orientation = _orientation(data)
        elif not name[:1].islower():
            raise ImageError(f"it needs a chunk {name!r}, which is not read")
        place = end
        if name == b"IEND":
            if colour == PALETTE and not colours:
                raise ImageError("it takes its colours from a palette (PLTE) and has none")
            return Png(bits, colour, colours, orientation, clear, b"".join(kept))
    raise ImageError(f"it has more than {_MOST_CHUNKS} chunks")
