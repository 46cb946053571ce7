// What one function call did: the record that `microscopiq.stats` returns.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "isa.gen.h"

namespace microscopiq {

constexpr int kUnits = std::size(kUnitNames);
constexpr int kMems = std::size(kMemNames);

// What a unit does in a cycle: it works, or this is why it doesn't.
enum class Cause : uint8_t {
  kBusy,
  kDma,        // data on its way from or to DRAM, or the channel taken
  kWeights,    // planes being loaded, switches being set
  kArray,      // the array streams
  kVector,     // the vector unit works
  kRecon,      // rows with outliers take turns at ReCoN
  kTemporal,   // temporal PEs add rows again, for weights beyond +-1
  kFillDrain,  // the array's pipeline fills or empties
  kIdle,       // nothing dispatched
};
constexpr const char* kCauseNames[] = {"busy",  "dma",      "weights",    "array", "vector",
                                       "recon", "temporal", "fill_drain", "idle"};
constexpr int kCauses = std::size(kCauseNames);

// Cycles of one unit by cause; they add up to the call's total.
using UnitCycles = std::array<int64_t, kCauses>;

struct Traffic {
  int64_t read = 0;
  int64_t written = 0;
};

// Elements at the array's ports.
struct ArrayAccesses {
  int64_t activations = 0;
  int64_t weights = 0;
  int64_t sums_read = 0;
  int64_t sums_written = 0;
};

struct ReconCounts {
  int64_t passes = 0;  // activation rows through a network
  int64_t second_passes = 0;
  int64_t waits = 0;  // passes of rows without outliers, which are only held back
  int64_t switch_ops = 0;
};

// Of a call, or of one of its parts.
struct CallRecord {
  std::string function;
  std::string name;  // of the part, else the function's
  std::string layer;
  int64_t cycles = 0;
  int64_t array_window = 0;  // from the first plane's load to the last sum
  int64_t instructions = 0;
  int64_t macs = 0;
  int64_t weight_bits = 0;   // of the widest plane
  int64_t outlier_rows = 0;  // array rows with an outlier, counted at each recon.config
  int64_t saturations = 0;
  int64_t temporal_adds = 0;  // of temporal PEs: the magnitude of every weight, for every row
  int64_t temporal_sums = 0;  // sums that passed one, in each cycle of a row
  int64_t vector_ops = 0;     // elements through the vector unit
  ArrayAccesses accesses;
  ReconCounts recon;
  std::array<UnitCycles, kUnits> units{};
  Traffic dram;
  Traffic bursts;  // bytes of the bursts that these took, 0 without `dram_channels`
  std::array<Traffic, kMems> memories;

  // Adds what another part of the call did.
  void Add(const CallRecord& part);
  std::string ToJson() const;
};

}  // namespace microscopiq
