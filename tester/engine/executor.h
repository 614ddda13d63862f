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
  Executor(const std::string& path, int batch, int micro_batch, const NetworkOptions& options = {});

  const PlanFile& file() const { return file_; }
  std::size_t micro_batch() const { return micro_batch_; }

  // Whether the input is uint8, which it is where there are levels, a CPU that looks them up fast, and a network that
  // begins by quantizing the input.
  bool takes_bytes() const { return options_.levels != nullptr; }

  // Convolutions that winograd.h does, in a network of some size.
  std::size_t transformed() const { return weights_.transformed(); }

  // pixels: [images, 3, H, W], uint8 where takes_bytes(), else float32; scores: float32 [images, classes].
  void Run(std::size_t images, const void* pixels, float* scores);

 private:
  Network& NetworkFor(std::size_t batch);
  void DropOldest();
  void Choose(std::size_t batch);
  double SecondsPerImage(std::size_t batch, const void* pixels, float* scores);

  PlanFile file_;
  NetworkOptions options_;
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
