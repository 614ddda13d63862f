// Top-1 and top-5 from scores. Of equal scores the lower class index ranks first, in this tester and in the Python one.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

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
