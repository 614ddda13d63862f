#include "crc32.h"

#include <array>
#include <cstring>

namespace {

// "Slicing by 8": table k holds the CRC of a byte that is followed by k zero bytes, so that eight bytes go at a time.
// Kounavis, M. E., Berry, F. L. (2008), Novel Table Lookup-Based Algorithms for High-Performance CRC Generation,
// IEEE Transactions on Computers 57(11).
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables t{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0xEDB88320u : 0u);
    t[0][byte] = crc;
  }
  for (std::size_t k = 1; k < t.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) t[k][byte] = (t[k - 1][byte] >> 8) ^ t[0][t[k - 1][byte] & 0xFF];
  }
  return t;
}

constexpr Tables kTables = MakeTables();

}  // namespace

std::uint32_t Crc32(const void* data, std::size_t size) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the data file is little endian, and so is this reader");
  const unsigned char* p = static_cast<const unsigned char*>(data);
  std::uint32_t crc = 0xFFFFFFFFu;
  for (; size >= 8; p += 8, size -= 8) {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + 4, 4);
    low ^= crc;
    crc = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) {
      crc ^= kTables[7 - byte][(low >> 8 * byte) & 0xFF] ^ kTables[3 - byte][(high >> 8 * byte) & 0xFF];
    }
  }
  for (; size > 0; ++p, --size) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xFF];
  return ~crc;
}
