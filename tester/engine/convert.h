// float32 <-> uint8 and int8, rounded to nearest even and saturated, as oneDNN's reorders do it.
#pragma once

#include <cstddef>

#include "plan_file.h"

// One image of three planes -> its quantized pixels, channels last: out[3 i + c] = round(planes[c][i] x factor). One pass
// over the input, where a quantization and a change of layout would be two.
void QuantizeImage(const float* planes, std::size_t pixels, float factor, Type type, void* out);

void Quantize(const float* in, std::size_t count, float factor, Type type, void* out);
void Dequantize(const void* in, std::size_t count, float scale, Type type, float* out);
