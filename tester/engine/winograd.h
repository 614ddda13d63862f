// 3 x 3 convolution of uint8 images with stride 1 by Winograd's minimal filtering F(4 x 4, 3 x 3), exact, by AVX-512 VNNI,
// for the engine.
//
// The direct sum needs 9 multiplications for an output and an input channel, this one 36 for 16 (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2015). vpdpwssd multiplies int16, half as many at a time as vpdpbusd, so
// half of the factor 4 remains. Floating-point versions lose digits; this one loses none, because all is integer:
//  - The transform of the input has whole coefficients, at most 10 in a dimension: 100 x 255 fits int16.
//  - That of the weights has denominators 6 and 24. Each of its six rows is multiplied until it is whole (at most 7 in a
//    dimension: 49 x 127 fits int16), and what it was multiplied by moves into the transform of the output, whose rows
//    then give 24, 12, 6 and 6 times the outputs.
//  - Sums may overflow: int32 wraps, so they are right modulo 2^32. A multiple 9 x 2^k of an output, k <= 6, is divided by
//    9 with the inverse of 9 modulo 2^32, and by 2^k with an arithmetic shift. That is the output itself if it lies within
//    +-2^25, which Exact() knows from the weights.
// So an output is the integer that oneDNN's direct kernels add up, and what follows is rounded as they do.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aligned.h"

class Winograd {
 public:
  struct Shape {
    int channels, height, width;        // of the input, NHWC; channels a multiple of 32
    int outputs;                        // channels of the output, a multiple of 64
    int top, left;                      // zero rows above, zero columns to the left: 0 or 1
    int output_height, output_width;
  };

  // weights: int8 [outputs][channels][3][3]. An output is round(min(sum * scale[k] + bias[k], high) * factor) cut to
  // 0..255, each step rounded to float32 by itself.
  Winograd(const Shape& shape, const std::int8_t* weights, const float* scale, const float* bias, float high, float factor);

  // Whether the CPU has the instructions, and oneDNN has not been told to do without them.
  static bool Supported();
  static bool Fits(const Shape& shape);
  // Whether no uint8 input can bring a sum to 2^25.
  static bool Exact(const Shape& shape, const std::int8_t* weights);
  // Whether it takes less time than the direct sum for so many images, by counting what both do.
  static bool Pays(const Shape& shape, std::size_t images, int threads);

  // Bytes that RunBatch writes to `scratch`, cache-line aligned.
  std::size_t ScratchBytes(int threads) const;

  // src uint8 [images][height][width][channels] -> dst uint8 [images][output_height][output_width][outputs], shared out
  // over the OpenMP threads.
  void RunBatch(const std::uint8_t* src, std::size_t images, std::uint8_t* dst, void* scratch) const;

 private:
  struct Tile;

  void Put(int block, int pair, const std::int8_t* weights);
  Tile At(std::size_t index) const;
  void TransformInput(const std::uint8_t* src, std::size_t begin, std::size_t tiles, std::int16_t* to) const;
  void Multiply(const std::int16_t* input, std::size_t tiles, int block, std::int32_t* to) const;
  void TransformOutput(const std::int32_t* products, std::size_t begin, std::size_t tiles, int block,
                       std::uint8_t* dst) const;

  Shape shape_;
  int rows_, columns_;                 // of tiles, in an image
  Aligned<std::int16_t> weights_;      // [outputs / 64][36][channels / 2][64][2]
  Aligned<float> scale_, bias_;        // [outputs]
  Aligned<std::uint8_t> zeros_;        // a pixel outside
  float high_, factor_;
};
