// The command line: the tutorial's eight flags with its defaults, and ours. Those of the scenarios are the C++ tester's
// alone.
#pragma once

#include <string>

struct Flags {
  std::string infer_model;
  std::string infer_data;
  int warmup_size = 0;
  int batch_size = 50;
  int iterations = 0;
  int num_threads = 1;
  bool with_accuracy_layer = false;
  bool use_profile = false;
  std::string json;
  double min_seconds = 0;
  int data_dim = 224;
  bool int8_online = false;
  bool bf16 = false;
  int micro_batch = 0;
  bool own_kernels = true;
  std::string scenario;  // "", single-stream, offline, server, soak
  double duration = 10;
  int min_queries = 0;  // never 0 after ParseFlags
  double target_latency_ms = 0;
  int seed = 1;
  std::string latencies_file;
  bool barrier = false;
  bool vary_batch = false;
  bool help = false;
};

// Takes `--flag=value`, `--flag value` and, for booleans, `--flag` alone; `-` and `_` in names are the same.
Flags ParseFlags(int argc, char** argv);

std::string HelpText();
