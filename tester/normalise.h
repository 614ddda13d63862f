// uint8 pixels -> what the network takes.
#pragma once

#include <array>
#include <cstddef>

// out[i] = (from[i] / 255 - mean) / std, each step rounded to float32, as NumPy does: with AVX-512 by just these steps,
// else by `levels`, which holds the result for each of the 256 values. `past_caches`: for more pixels than a core's
// caches hold; then they are not fetched from memory before they are overwritten. End a batch of such by FinishStores.
void Normalise(const unsigned char* from, std::size_t n, float mean, float std, const std::array<float, 256>& levels,
               bool past_caches, float* out);
void FinishStores();
