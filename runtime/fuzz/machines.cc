#include <algorithm>

#include "generate.h"
#include "recon/plan.h"

namespace microscopiq {
namespace {

template <typename... Values>
int64_t OneOf(Random* random, Values... values) {
  const int64_t all[] = {values...};
  return all[Below(random, sizeof...(values))];
}

// Channels of banks, whose bursts, pieces and rows go into each other.
void MakeDram(ArchNumbers* arch, Random* random) {
  arch->dram_channels = Between(random, 1, 4);
  arch->dram_banks = OneOf(random, 1, 2, 5, 16);
  arch->dram_burst_bytes = OneOf(random, 1, 8, 12, 64);
  arch->dram_burst_cycles = Between(random, 1, 4);
  arch->dram_interleave_bytes = arch->dram_burst_bytes * OneOf(random, 1, 3, 4);
  arch->dram_row_bytes = arch->dram_interleave_bytes * OneOf(random, 1, 2, 5);
  arch->dram_bank_groups = OneOf(random, 0, 0, 2, 4);
  arch->dram_group_burst_cycles = OneOf(random, 0, 4, 9);
  arch->dram_read_cycles = OneOf(random, 0, 7, 30);
  arch->dram_write_cycles = OneOf(random, 0, 5, 20);
  arch->dram_row_cycles = OneOf(random, 0, 10, 48);
  arch->dram_four_rows_cycles = OneOf(random, 0, 9, 30);
  arch->dram_turnaround_cycles = OneOf(random, 0, 3, 28);
  arch->dram_refresh_interval_cycles = OneOf(random, 0, 50, 400);
  arch->dram_refresh_cycles = arch->dram_refresh_interval_cycles / OneOf(random, 2, 10);
  arch->dram_queue = OneOf(random, 1, 3, 48);
  arch->dram_window = OneOf(random, 0, 0, 1, 16);
}

}  // namespace

ArchNumbers MakeMachine(Random* random) {
  ArchNumbers arch;
  // What isn't made up is 0: a DRAM without channels, and no host, which is no part of a program.
  VisitArch(&arch, [](const char*, int64_t* value, int64_t, int64_t) { *value = 0; });
  // Few PEs: structural mode steps them all. Any number of columns, whole micro-blocks or not.
  arch.array_rows = Between(random, 2, 12);
  arch.array_cols = OneIn(random, 4) ? 8 * Between(random, 1, 3) : Between(random, 2, 22);
  arch.pe_weight_bits = OneOf(random, 2, 4, 8, 8, 3);
  arch.multi_precision = Below(random, 2);
  arch.pe_activation_bits = 8;
  arch.pair_decoders = Below(random, 2);
  arch.accumulator_bits = OneIn(random, 3) ? Between(random, 16, 31) : 32;
  arch.recon_units = OneOf(random, 1, 1, 2, 3, 5, 0);
  arch.skew_columns = OneOf(random, 1, 1, 8);
  arch.recon_segment_columns = OneOf(random, 0, 0, 8, 16, 32);
  arch.replay_columns = OneOf(random, 0, 8, 16, 1024);
  arch.weight_planes = OneOf(random, 2, 2, 3, 5);
  arch.weight_buses = OneIn(random, 2) ? 1 : Between(random, 1, arch.array_rows);
  arch.row_release = Below(random, 2);
  arch.recon_waits = Below(random, 2);
  arch.merge_strips = arch.row_release ? OneOf(random, 1, 1, 2, 3) : 1;
  if (OneIn(random, 10)) {
    arch.temporal_cycles = OneOf(random, 3, 4);
    arch.pe_weight_bits = 3;
    arch.multi_precision = arch.recon_units = arch.replay_columns = 0;
    arch.skew_columns = 1;
  } else if (OneIn(random, 10)) {
    arch.pe_weight_bits = arch.pe_activation_bits = 4;
    arch.multi_precision = 1;
    arch.recon_units = arch.replay_columns = 0;
  }
  for (int64_t* bytes : {&arch.spad_bytes, &arch.wbuf_bytes, &arch.acc_bytes, &arch.obuf_bytes}) {
    *bytes = Between(random, 3000, 8000);
  }
  arch.dram_bandwidth_bytes_per_cycle = OneOf(random, 0, 1, 3, 16);
  arch.dram_latency_cycles = OneOf(random, 0, 1, 20);
  if (OneIn(random, 3)) MakeDram(&arch, random);
  arch.vector_lanes = OneOf(random, 0, 1, 3, 8);
  arch.vector_latency_cycles = OneOf(random, 0, 1, 5);
  arch.vector_divide_cycles = OneOf(random, 1, 2, 5);
  arch.vector_function_cycles = OneOf(random, 1, 3, 8);
  arch.sequencer_cycles = OneOf(random, 0, 1, 1, 3);
  arch.queue_depth = OneOf(random, 1, 2, 8);
  arch.overlap = !OneIn(random, 4);
  arch.edge_trimming = Below(random, 2);
  arch.scalesim = OneIn(random, 8);
  arch.clock_mhz = 100;
  return arch;
}

bool Runs(const ArchNumbers& arch, const WeightFormat& format) {
  if (!arch.multi_precision && format.pe_bits > arch.pe_weight_bits) return false;
  const int64_t columns = ArrayColumns(arch, format.pe_bits);
  if (format.codes == Codes::kVictimPairs && !arch.pair_decoders) return false;
  if (format.has_outliers && columns < kMicroBlock) return false;
  if (format.has_outliers) return arch.recon_units > 0 || arch.replay_columns > 0;
  return columns > 0;
}

}  // namespace microscopiq
