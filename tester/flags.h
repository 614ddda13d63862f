// The command line: the tutorial's eight flags with its defaults, and ours.
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
  bool help = false;
};

// Takes `--flag=value`, `--flag value` and, for booleans, `--flag` alone; `-` and `_` in names are the same.
Flags ParseFlags(int argc, char** argv);

std::string HelpText();
