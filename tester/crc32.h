// CRC-32 as in zlib (IEEE 802.3, reflected polynomial 0xEDB88320). Our own, because libpaddle.so exports a zlib 1.2.8
// that would be bound instead of the system's.
#pragma once

#include <cstddef>
#include <cstdint>

std::uint32_t Crc32(const void* data, std::size_t size);
