// When the rows of a plane that hold outliers visit ReCoN: the table that `recon.config` makes,
// and the closed formula of a matmul's time.
#pragma once
#include <cstdint>
#include <vector>

#include "isa.gen.h"
#include "weights/panel.h"

namespace microscopiq {

// Output columns that an array row holds at a precision.
int64_t ArrayColumns(const ArchNumbers& arch, int bits);

// Cycles of an activation row beside weights of a precision: PEs that take half an activation,
// joined for wide weights, take the halves one after the other.
int RowCycles(const ArchNumbers& arch, int bits);

// The part of the array that works on a plane, and its networks.
struct ReconShape {
  int rows = 0;
  int cols = 0;           // output columns
  int strip_columns = 0;  // columns that share networks and arbitrate alone
  int ranks = 0;          // of a network
  int units = 0;          // networks of a strip
  int skew_columns = 1;   // columns that get an activation in the same cycle

  int strips() const { return (cols + strip_columns - 1) / strip_columns; }
  // Cycles by which what happens in a column is later than in the first one.
  int Later(int column) const { return column / skew_columns; }
  // Cycles that the sync buffer holds a micro-block's first column until its last is there.
  int sync_cycles() const { return Later(kMicroBlock - 1); }
};

// A plane's own rows and columns, or the whole array where partial tiles aren't trimmed.
ReconShape MakeReconShape(const ArchNumbers& arch, int bits, int64_t rows, int64_t cols);

// Strips of the machine, in its narrowest weights.
int MostStrips(const ArchNumbers& arch);

// A row that holds an outlier in a strip. It needs two passes if one of its micro-blocks does.
struct ReconRow {
  int row;
  int passes;
};
using StripRows = std::vector<std::vector<ReconRow>>;  // by strip, rows ascending

// Appends a row to the strips in which it has outliers; rows come in ascending order.
void AddReconRow(const ReconShape& shape, int row, const std::vector<Outlier>& outliers,
                 StripRows* strips);

struct ReconVisit {
  int row;
  int pass;        // 0, or 1 for a second pass
  int64_t offset;  // cycles from an activation row's start, in the strip's first column, to ReCoN
  bool waits = false;  // a row without outliers, which is only held back
};

// When activation rows start: `rows` of them every `period` cycles, as evenly as that goes.
struct Cadence {
  int64_t period = 1;
  int64_t rows = 1;

  int64_t Start(int64_t row) const { return row * period / rows; }
};

// The starts of rows one after the other, without a division for each.
class Starts {
 public:
  Starts(const Cadence& cadence, int64_t row)
      : at_(cadence.Start(row)),
        rest_(row * cadence.period % cadence.rows),
        whole_(cadence.period / cadence.rows),
        part_(cadence.period % cadence.rows),
        rows_(cadence.rows) {}

  int64_t at() const { return at_; }
  void Next() {
    at_ += whole_;
    rest_ += part_;
    if (rest_ < rows_) return;
    rest_ -= rows_;
    ++at_;
  }

 private:
  int64_t at_, rest_, whole_, part_, rows_;
};

struct ReconPlan {
  ReconShape shape;
  Cadence cadence;
  int64_t places = 1;         // visits of a strip in cycles that are alike modulo the period
  int64_t latency = 0;        // cycles from the last one's start to the last sum
  int64_t visits = 0;         // of one activation row, over all strips
  int64_t second_passes = 0;  // those of them that are second passes
  std::vector<std::vector<ReconVisit>> strips;  // by strip, in the order of time

  // Cycles from a matmul's start until the next one may start.
  int64_t busy(int64_t m) const { return cadence.Start(m - 1) + 1; }
};

ReconPlan MakeReconPlan(const ReconShape& shape, const StripRows& rows);

}  // namespace microscopiq
