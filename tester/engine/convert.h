// float32 <-> uint8 and int8, rounded to nearest even and saturated, as oneDNN's reorders do it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "levels.h"
#include "plan_file.h"

// One image of three planes -> its quantized pixels, channels last: out[3 i + c] = round(planes[c][i] x factor). One pass
// over the input, where a quantization and a change of layout would be two.
void QuantizeImage(const float* planes, std::size_t pixels, float factor, Type type, void* out);

// What becomes of each uint8 of a channel: the quantized value of its level, int8 or uint8 by `type`, as its bits.
using ByteTable = std::array<std::array<std::uint8_t, 256>, 3>;
ByteTable QuantizedLevels(const Levels& levels, float factor, Type type);

// QuantizeImage of uint8 planes by such a table: out[3 i + c] = table[c][planes[c][i]]. Fast with HasAvx512Vbmi() (Ice
// Lake, Zen 4 and newer: two instructions look up 64 bytes among 128), right without.
void LookUpImage(const std::uint8_t* planes, std::size_t pixels, const ByteTable& table, std::uint8_t* out);

void Quantize(const float* in, std::size_t count, float factor, Type type, void* out);
void Dequantize(const void* in, std::size_t count, float scale, Type type, float* out);
