// The normalised value of each uint8 of a pixel, per channel: (u / 255 - mean) / std in float32.
#pragma once

#include <array>

using Levels = std::array<std::array<float, 256>, 3>;
