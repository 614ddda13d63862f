// The scenarios, by the terms of MLPerf inference (docs/scenarios.md says where we differ from its rules):
//   single-stream  the next query when the one before is complete; what counts is the latency
//   offline        all images are there at the start; what counts is the throughput
//   server         queries arrive as a Poisson process; what counts is the highest rate that keeps p99 within a target
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "data_file.h"
#include "flags.h"
#include "latency_file.h"
#include "predictor.h"
#include "rate_search.h"
#include "statistics.h"

struct ScenarioRun {
  std::size_t images_per_query = 0;
  std::size_t pool_images = 0;  // the first ones of the file, in memory before the measurement
  std::vector<Query> queries;   // server: of the last probe at the rate found; none when no rate was found
  double seconds = 0;           // from the start to the last completion
  std::vector<int> predictions;  // class of each image of the pool, -1 if no query held it; none with an accuracy layer
  SearchResult search;           // server
  Summary service;               // server: latency without a queue
  int threads_alive = 0, threads_busy = 0;
  std::int64_t peak_rss_bytes = 0;

  double queries_per_second() const { return static_cast<double>(queries.size()) / seconds; }
  double images_per_second() const { return queries_per_second() * static_cast<double>(images_per_query); }
};

ScenarioRun RunScenario(const Flags& flags, DataFile* data, Predictor* predictor);
