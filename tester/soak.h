// The soak: the same work for as long as is asked for, with nothing kept of it, so that memory that grows is a leak.
// Every image must get the same class again and again; src/qat8/soak samples the process from outside and judges it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "data_file.h"
#include "flags.h"
#include "predictor.h"
#include "report.h"

struct SoakRun {
  std::size_t pool_images = 0;  // the first ones of the file, in memory before it begins
  std::size_t batches = 0, images = 0;
  std::size_t rounds = 0;       // complete ones, of each batch size once
  std::size_t other_class = 0;  // images that got another class than the first time
  double seconds = 0;
  int threads_alive = 0;
  std::int64_t peak_rss_bytes = 0;
};

// Until --duration is over, batches of --batch_size images; with --vary_batch of 1 to --batch_size images, each size
// once in every round, in another order each time. A line on standard output every second says how far it is.
SoakRun RunSoak(const Flags& flags, DataFile* data, Predictor* predictor);
void PrintSoak(const Flags& flags, const SoakRun& run);
std::string SoakJson(const Flags& flags, const Setting& setting, const SoakRun& run);
