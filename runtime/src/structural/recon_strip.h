// The ReCoN of one strip of the array: sync buffer, arbiter, networks, re-skew.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "recon/plan.h"
#include "structural/fifo.h"
#include "structural/recon_network.h"

namespace microscopiq {

// What `recon.config` writes for a row with outliers.
struct RowConfig {
  int passes = 1;
  std::vector<BlockRoute> routes;  // by micro-block of the strip
  std::vector<int> relative;       // E - Isf of each
  int shift = 0;                   // Isf - e, and the guard bits
  int half = 0;                    // bits of half a mantissa
  std::array<ReconVisit, 2> visits{};
};

// What a strip knows of a matmul.
struct StripJob {
  int64_t start = 0;  // cycle in which its first activation row starts in the first column
  Cadence cadence;
  int columns = 0;  // of the strip that hold weights
  // Each visit has its cycle. Else a row is served in the first one that its place in the period
  // allows.
  bool reserved = false;
  std::map<int, RowConfig> rows;
};

// A partial sum on the way down a column.
struct Psum {
  bool there = false;
  Tag tag;
  int64_t value = 0;
};

class ReconStrip {
 public:
  ReconStrip(const ReconShape& shape, int strip, const StuckSwitch& stuck);

  void AddJob(const StripJob& job);
  // A PE of a row with outliers hands over {Res, iAcc}, and its activation with them.
  void Send(int64_t cycle, int column, const Tag& tag, int8_t x, const Res& res, int64_t acc);
  void Step(int64_t cycle);
  // Sums that come back below their rows in this cycle, skewed again.
  struct Return {
    int row;
    int column;
    Psum sum;
  };
  const std::vector<Return>& Receive(int64_t cycle);
  bool empty() const;

 private:
  struct Entry {
    Tag tag;
    int8_t x;
    Res res;
    int64_t acc;
  };
  // The FIFOs of one array row, by column.
  struct RowBuffers {
    std::vector<Fifo<Entry>> sync;      // until a micro-block is whole and the row is granted
    std::vector<Fifo<Res>> held;        // values that enter in the second pass
    std::vector<Fifo<Entry>> returned;  // iAcc between the passes
    std::vector<Fifo<Psum>> skew;
  };
  struct Grant {
    Tag tag;
    int pass;
    int unit;
    int64_t since;
  };

  void Arbitrate(int64_t cycle);
  void EnterBlock(int64_t cycle, const Grant& grant, int block);
  Entry Take(int64_t cycle, const Grant& grant, RowBuffers* buffers, int column,
             const BlockRoute& route);
  void Leave(int64_t cycle, const ReconNetwork::Exit& exit);
  const RowConfig& ConfigOf(const Tag& tag) const { return jobs_[tag.job].rows.at(tag.row); }

  ReconShape shape_;
  int columns_;
  StuckSwitch stuck_;
  std::vector<StripJob> jobs_;
  std::map<int, RowBuffers> rows_;  // of array rows that have outliers
  std::vector<ReconNetwork> networks_;
  std::vector<Grant> grants_;  // micro-block by micro-block, from left to right
  std::vector<ReconNetwork::Exit> exits_;
  std::vector<Return> returns_;
};

}  // namespace microscopiq
