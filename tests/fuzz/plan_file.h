// Sizes and sums of an engine's file made right, as somebody would who makes a hostile file.
#pragma once

#include "harness.h"

inline void SealPlan(std::uint8_t* d, std::size_t size, unsigned how) {
  if (size < 64 || std::memcmp(d, "QAT8PLAN", 8) != 0) return;
  if (how & 1) Put<std::uint64_t>(d, 16, size);
  if (how & 2) Put(d, 40, Crc32(d + 64, size - 64));
  Put(d, 60, Crc32(d, 60));
}

// One field of one operator or tensor gets a value that is often a limit of something: bytes that change at random
// seldom make a whole field.
inline void ChangeField(std::uint8_t* d, std::size_t size, unsigned seed) {
  static const std::uint32_t kValues[] = {0, 1, 2, 3, 4, 7, 8, 9, 16, 64, 65535, 65536, 1u << 20, 1u << 28, INT32_MAX,
                                          1u << 31, UINT32_MAX - 1, UINT32_MAX, 0x3f800000, 0x7f800000, 0x7fc00000};
  if (size < 64) return;
  const std::size_t records = (Get<std::uint32_t>(d, 24) * std::size_t{16} + Get<std::uint32_t>(d, 28) * std::size_t{128}) / 4;
  const std::size_t fields = std::min(records, (size - 64) / 4);
  if (fields == 0) return;
  const std::size_t at = 64 + seed % fields * 4;
  Put(d, at, kValues[seed / 8191 % (sizeof kValues / sizeof *kValues)]);
}

inline std::size_t MutatePlan(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  if (seed % 2 == 0) {
    size = LLVMFuzzerMutate(data, size, most);
  } else {
    ChangeField(data, size, seed / 2);
  }
  if (seed % 31 != 0) SealPlan(data, size, seed / 16 % 8 == 0 ? seed / 128 : 3);
  return size;
}
