// The result: lines on standard output, and the JSON that src/qat8/tester_run.py describes as TesterRun.
#pragma once

#include <string>
#include <vector>

#include "flags.h"
#include "measure.h"

struct Setting {
  std::string paddle_version;
  std::string fingerprint;  // JSON text, empty for a raw file
  double init_ms = 0;       // to make the predictor
  std::vector<int> affinity;
};

void PrintReport(const Flags& flags, const Measurement& m);
std::string ReportJson(const Flags& flags, const Setting& setting, const Measurement& m);
