"""Where the fields of a record batch are, as Kafka's brokers store it (magic 2, and what earlier formats share with it)."""

import struct
from typing import Final

FRAME: Final = struct.Struct(">qi")
"""Base offset, and the length of what follows."""
HEADER: Final = struct.Struct(">qiibIhiqqqhii")
LENGTH_AT: Final = 8
MAGIC_AT: Final = 16
CRC_AT: Final = 17
CRC_FROM: Final = 21
ATTRIBUTES_AT: Final = 21
LEGACY_ATTRIBUTES_AT: Final = 17
"""Of the formats before magic 2."""
CODEC_MASK: Final = 0x07
CURRENT_FORMAT: Final = 2
