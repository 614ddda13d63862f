// The network's input of a batch. In pages of 2 MiB where the kernel has them: 30 MB are 15 of them, and 7,350 small ones.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

class PixelBuffer {
 public:
  explicit PixelBuffer(std::size_t floats) {
    const std::size_t alignment = floats * sizeof(float) < kHugePage ? kLine : kHugePage;
    const std::size_t bytes = (floats * sizeof(float) + alignment - 1) / alignment * alignment;
    pixels_.reset(static_cast<float*>(std::aligned_alloc(alignment, bytes)));
    if (pixels_ == nullptr) throw std::bad_alloc();
    if (alignment == kHugePage) madvise(pixels_.get(), bytes, MADV_HUGEPAGE);  // a hint: may fail
  }
  float* data() { return pixels_.get(); }

 private:
  static constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> pixels_;
};
