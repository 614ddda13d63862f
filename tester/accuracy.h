// Top-1 and top-5 from scores. Of equal scores the lower class index ranks first, in this tester and in the Python one.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "errors.h"

struct Ranking {
  int predicted = 0;  // the class of the highest score
  int rank = 0;       // classes that rank before the label; 0 is a top-1 hit, 4 still a top-5 hit
  bool finite = true;
};

inline Ranking Rank(const float* scores, int classes, std::int64_t label) {
  Ranking r;
  const float wanted = scores[label];
  for (int c = 0; c < classes; ++c) {
    r.finite = r.finite && std::isfinite(scores[c]);
    if (scores[c] > scores[r.predicted]) r.predicted = c;
    if (scores[c] > wanted || (scores[c] == wanted && c < label)) ++r.rank;
  }
  return r;
}

// A run that computes nonsense can be fast, so scores must be finite, and ...
inline Ranking RankFinite(const float* scores, int classes, std::int64_t label, std::size_t image) {
  const Ranking r = Rank(scores, classes, label);
  if (r.finite) return r;
  throw Error(kVerificationError, "the model's output for image " + std::to_string(image) + " is not finite",
              "finite scores", "check the model and the machine");
}

// ... the same image must get the same class again: what is timed is what accuracy was counted of (MLPerf's TEST01).
inline void CheckSameClass(std::size_t image, int before, int now) {
  if (before == now) return;
  throw Error(kVerificationError,
              "the model named two classes for image " + std::to_string(image) + ": " + std::to_string(before) +
                  " and " + std::to_string(now),
              "one and the same", "check the model and the machine");
}
