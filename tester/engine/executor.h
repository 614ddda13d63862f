// Runs a model on any number of images, in batches that keep what flows between the layers in the core's cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "network.h"
#include "onednn.h"
#include "plan_file.h"

class Executor {
 public:
  // `micro_batch` images at a time; 0: of 1, 2, 4, 8, 16 and all `batch` the fastest by a measurement, now.
  // `own_kernels`: depthwise convolutions by depthwise.h where it fits; false: all by oneDNN, for comparison.
  // `bf16`: an FP32 file's arithmetic in bfloat16.
  Executor(const std::string& path, int batch, int micro_batch, bool own_kernels = true, bool bf16 = false);

  const PlanFile& file() const { return file_; }
  std::size_t micro_batch() const { return micro_batch_; }

  // pixels: float32 [images, 3, H, W]; scores: float32 [images, classes].
  void Run(std::size_t images, const float* pixels, float* scores);

 private:
  Network& NetworkFor(std::size_t batch);
  void DropOldest();
  void Choose(std::size_t batch);
  double SecondsPerImage(std::size_t batch, const float* pixels, float* scores);

  PlanFile file_;
  bool own_kernels_, bf16_;
  onednn::Cpu cpu_;
  Weights weights_;
  struct Kept {
    std::unique_ptr<Network> network;
    std::uint64_t used = 0;  // the turn of its last use
  };

  std::map<std::size_t, Kept> networks_;  // by batch size
  std::uint64_t turn_ = 0;
  std::size_t micro_batch_ = 0;
};
