// Makes programs from nothing: machines, panels and code that no compiler of ours writes.
#pragma once
#include <string>
#include <vector>

#include "isa.gen.h"
#include "mutate.h"

namespace microscopiq {

inline int64_t Below(Random* random, int64_t end) {
  return end > 0 ? static_cast<int64_t>((*random)() % static_cast<uint64_t>(end)) : 0;
}
inline int64_t Between(Random* random, int64_t low, int64_t high) {
  return low + Below(random, high - low + 1);
}
inline bool OneIn(Random* random, int64_t count) { return Below(random, count) == 0; }

// A small machine, any that the loader takes.
ArchNumbers MakeMachine(Random* random);
// Whether it runs planes of a format.
bool Runs(const ArchNumbers& arch, const WeightFormat& format);

struct MadePanel {
  const WeightFormat* format;
  int rows;
  int cols;
  std::string bytes;
};
// A panel of any legal slots, scales, exponents and permutation lists.
MadePanel MakePanel(const WeightFormat& format, Random* random);

// Elements of a made-up function's arguments, int8 and fp32 in, fp32 out.
constexpr int kBytesIn = 2000, kFloatsIn = 500, kFloatsOut = 600;

// The code of a function: most of it legal, all of it decodes.
std::vector<std::string> MakeCode(const ArchNumbers& arch, const std::vector<MadePanel>& panels,
                                  Random* random);

// A saved program with one function.
std::string MakeProgram(Random* random);

}  // namespace microscopiq
