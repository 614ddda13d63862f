// Depthwise 3 x 3 convolution of uint8 images by AVX-512 VNNI, for the engine.
//
// oneDNN's kernel (brdgmm_dw) multiplies one tap of 16 channels at a time, so vpdpbusd, which adds four products, does a
// quarter of its work. Here the three taps of a column go into one 32-bit lane: the rows above, at and below are
// interleaved once per column by eight unpack instructions for 64 channels, and every column is used for three outputs.
// The unpacks permute channels within 128-bit lanes and the packs of the result put them back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aligned.h"

class Depthwise {
 public:
  struct Shape {
    int channels, height, width;          // of the input, NHWC
    int stride;                           // 1 or 2
    int top, left;                        // zero rows above, zero columns to the left: 0 or 1
    int output_height, output_width;
  };

  // weights: int8 [channels][3][3]. An output is round(min(sum * scale[c] + bias[c], high) * factor) cut to 0..255; each
  // step is rounded to float32 by itself, as oneDNN does, so that the result is the same to the bit.
  Depthwise(const Shape& shape, const std::int8_t* weights, const float* scale, const float* bias, float high,
            float factor);

  // Whether the CPU has the instructions, and oneDNN has not been told to do without them.
  static bool Supported();
  static bool Fits(const Shape& shape);

  // The output rows from `begin` to before `end` of one image:
  // src uint8 [height][width][channels] -> dst uint8 [output_height][output_width][channels].
  void Run(const std::uint8_t* src, std::uint8_t* dst, int begin, int end) const;

  // `images` images one behind the other, shared out over the OpenMP threads by pairs of output rows.
  void RunBatch(const std::uint8_t* src, std::size_t images, std::uint8_t* dst) const;

 private:
  void Put(int channel, int in_block, const std::int8_t* weights, const float* scale, const float* bias);

  Shape shape_;
  int blocks_;                       // of 64 channels
  Aligned<std::int8_t> weights_;  // [blocks][3 columns][4][64]
  Aligned<float> scale_, bias_;  // [blocks][64], in the order of the unpacked channels
  Aligned<std::uint8_t> zeros_;  // a row of zeros, for rows outside
  float high_, factor_;
};
