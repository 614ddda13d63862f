// A scenario's result: lines on standard output, and the JSON that src/qat8/scenario_results.py describes as
// ScenarioRun.
#pragma once

#include <string>

#include "flags.h"
#include "report.h"
#include "scenario.h"

void PrintScenario(const Flags& flags, const ScenarioRun& run);
std::string ScenarioJson(const Flags& flags, const Setting& setting, const ScenarioRun& run);
