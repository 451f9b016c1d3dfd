"""What a sound file's own header announces, read without a decoder, so that a lie in it has a name. Host only.

libsndfile quietly cuts the length of a WAV or AIFF file to the bytes that are there, and drops broken Ogg pages; both then look whole.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from audiojax.audio.reasons import AudioFileError, Reason

STREAMED = 0x7FFF_F000  # writers that cannot seek back announce this or more: the length is then unknown, not wrong
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits: 1, 2, 2.5
MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def check_header(path: str | Path) -> None:
    """Raises AudioFileError where the container itself is cut short or announces no channels; otherwise leaves judgement to the decoder.

    Looks into RIFF/WAVE, AIFF and Ogg; every other format passes.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        magic = file.read(12)
        if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
            _check_chunks(path, file, size, "<", b"fmt ", b"data")
        elif magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
            _check_chunks(path, file, size, ">", b"COMM", b"SSND")
        elif magic[:4] == b"OggS":
            _check_ogg(path, file, size)


def _check_chunks(path: str | Path, file: BinaryIO, size: int, order: str, form: bytes, data: bytes) -> None:
    """Walks the chunks of a RIFF or IFF file up to its samples."""
    while len(head := file.read(8)) == 8:
        name, length = head[:4], struct.unpack(f"{order}I", head[4:])[0]
        here = file.tell()
        if name == form:
            body = file.read(4)
            channels = struct.unpack(f"{order}H", body[2:4] if form == b"fmt " else body[:2])[0] if len(body) == 4 else None
            if channels == 0:
                raise AudioFileError(path, Reason.NO_CHANNELS, "the header announces 0 channels")
        elif name == data:
            if length < STREAMED and here + length > size:
                raise AudioFileError(path, Reason.TRUNCATED, f"{size - here} of {length} bytes of samples are there")
            return
        file.seek(here + length + length % 2)


def _check_ogg(path: str | Path, file: BinaryIO, size: int) -> None:
    """Walks the pages (RFC 3533): each whole, with the checksum it states, none left out, the last one marked as the end."""
    offset, flags, expected = 0, 0, {}
    while offset < size:
        file.seek(offset)
        head = file.read(27)
        if len(head) == 27 and head[:4] != b"OggS":
            raise AudioFileError(path, Reason.DAMAGED, f"no Ogg page at byte {offset}, where one should follow")
        segments = file.read(head[26]) if len(head) == 27 else b""
        length = 27 + len(segments) + sum(segments)
        if len(head) < 27 or len(segments) < head[26] or offset + length > size:
            raise AudioFileError(path, Reason.TRUNCATED, f"the last Ogg page, at byte {offset}, is cut")
        flags, serial, number, checksum = head[5], *struct.unpack("<III", head[14:26])
        if _ogg_checksum(head[:22] + bytes(4) + head[26:] + segments + file.read(sum(segments))) != checksum:
            raise AudioFileError(path, Reason.DAMAGED, f"the Ogg page at byte {offset} fails its checksum")
        if number != expected.get(serial, number):
            raise AudioFileError(path, Reason.DAMAGED, f"Ogg pages are missing before byte {offset}")
        expected[serial] = (number + 1) & 0xFFFF_FFFF
        offset += length
    if not flags & 4:
        raise AudioFileError(path, Reason.TRUNCATED, "the last Ogg page does not end the stream")


def _ogg_checksum(page: bytes) -> int:
    """CRC with the polynomial of zlib's, but most significant bit first, from 0 and not inverted."""
    reflected = zlib.crc32(page.translate(MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{reflected:032b}"[::-1], 2)


def mp3_with_length(data: bytes, announced: int) -> bytes | None:
    """The MP3 stream behind a Xing header that counts its frames, where it has none and libsndfile's guess falls short; None otherwise.

    Without that header libsndfile guesses the length from the first frame's bit rate, and reads no further: a stream of variable bit rate
    would lose its end unnoticed.

    Args:
      data: the whole file.
      announced: the length in samples that libsndfile reports.
    """
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    start = next((place for place in range(start, min(start + 2**16, len(data))) if _begins_mpeg(data, place)), None)
    if start is None:
        return None
    _, samples, side = _mpeg_frame(data, start)
    if data[start + 4 + side : start + 8 + side] in (b"Xing", b"Info") or data[start + 36 : start + 40] == b"VBRI":
        return None
    offset, frames = start, 0
    while (frame := _mpeg_frame(data, offset)) is not None:
        offset, frames = offset + frame[0], frames + 1
    if frames * samples <= announced + samples:
        return None
    header = bytes([data[start], data[start + 1] | 1, (data[start + 2] & 0x0C) | 0x50, data[start + 3]])  # no checksum, 64 or 40 kbit/s
    length = _mpeg_frame(header, 0)[0]
    return (header + bytes(side) + b"Xing" + struct.pack(">II", 1, frames)).ljust(length, b"\0") + data[start:]


def _begins_mpeg(data: bytes, offset: int) -> bool:
    """Whether two frames follow each other from here: one alone may be chance."""
    first = _mpeg_frame(data, offset) if data[offset] == 0xFF else None
    return first is not None and _mpeg_frame(data, offset + first[0]) is not None


def _mpeg_frame(data: bytes, offset: int) -> tuple[int, int, int] | None:
    """Of a Layer III frame: its bytes, its samples, and the bytes of side information after the header; None where there is no frame."""
    if offset + 4 > len(data):
        return None
    head = int.from_bytes(data[offset : offset + 4], "big")
    version, kbps, rate = head >> 19 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or kbps in (0, 15) or rate == 3:
        return None
    mpeg1, mono = version == 3, head >> 6 & 3 == 3
    samples = 1152 if mpeg1 else 576
    bits = (MPEG1_KBPS if mpeg1 else MPEG2_KBPS)[kbps] * 1000
    side = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    return samples // 8 * bits // MPEG_RATES[version][rate] + (head >> 9 & 1), samples, side
