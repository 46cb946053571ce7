// What one function call did: the record that `microscopiq.stats` returns.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "isa.gen.h"

namespace microscopiq {

constexpr int kUnits = std::size(kUnitNames);
constexpr int kMems = std::size(kMemNames);

// Cycles of one unit; the four add up to the call's total.
struct UnitCycles {
  int64_t busy = 0;
  int64_t dependency = 0;  // blocked by a wait
  int64_t recon = 0;       // the array held up because rows with outliers share ReCoN units
  int64_t other = 0;
};

struct Traffic {
  int64_t read = 0;
  int64_t written = 0;
};

struct CallRecord {
  std::string name;
  std::string layer;
  int64_t cycles = 0;
  int64_t instructions = 0;
  int64_t macs = 0;
  int64_t outlier_rows = 0;  // array rows with an outlier, counted at each recon.config
  int64_t saturations = 0;
  std::array<UnitCycles, kUnits> units;
  Traffic dram;
  std::array<Traffic, kMems> memories;

  std::string ToJson() const;
};

}  // namespace microscopiq
