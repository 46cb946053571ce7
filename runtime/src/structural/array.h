// The structural array: every PE, FIFO and switch, stepped cycle by cycle. It computes from the
// raw slots and metadata, and how long it takes is what it measures.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "guard.h"
#include "recon/plan.h"
#include "structural/fifo.h"
#include "structural/pe.h"
#include "structural/plane.h"
#include "structural/recon_strip.h"
#include "structural/weight_registers.h"

namespace microscopiq {

// A matmul: M activation rows through one plane.
struct StructuralJob {
  const RawPlane* plane = nullptr;
  const int8_t* x = nullptr;  // (m, rows), or all inputs that the rows list
  int64_t x_pitch = 0;
  int m = 0;
  int64_t start = 0;  // cycle in which its first activation row starts
  // Its visits to ReCoN by strip, if they were reserved among those of other matmuls.
  const std::vector<std::vector<ReconVisit>>* visits = nullptr;
  // Array rows that its sums go through: those below the plane's own hold weights of 0.
  int depth = 0;
  // What was loaded into its plane, by its number in the call; null: it is there from the start.
  const PlaneLoad* load = nullptr;
  size_t load_number = 0;
};

struct StructuralResult {
  int64_t last_start = 0;  // cycle in which the last activation row started
  int64_t end = 0;         // cycles until the last sum was there
};

// A matmul that was stepped, as it is needed to step it again beside others.
struct SteppedMatmul {
  std::shared_ptr<const RawPlane> plane;
  std::vector<int8_t> x;  // (m, rows), or all inputs that the rows list
  int m = 0;
  uint64_t digest = 0;  // of its sums

  StructuralJob Job() const {
    StructuralJob job;
    job.plane = plane.get();
    job.x = x.data();
    job.x_pitch = plane->x_cols();
    job.depth = plane->rows;
    job.m = m;
    return job;
  }
};

class StructuralArray {
 public:
  StructuralArray(const ArchNumbers& arch, const StuckSwitch& stuck, Guard* guard);

  // Takes the sums (m, cols) of a matmul's plane when all are there.
  using Sink =
      std::function<void(size_t job, const StructuralResult&, const std::vector<int64_t>&)>;

  // Runs matmuls that follow each other; their starts ascend and their planes hold weights of one
  // width. Throws SimError if two values ever meet in one port, link or FIFO, or overtake.
  void Run(const std::vector<StructuralJob>& jobs, const Sink& sink);

 private:
  struct Activation {
    bool there = false;
    Tag tag;
    int8_t x = 0;
  };
  // A matmul as the structure sees it.
  struct JobState {
    StructuralJob job;
    ReconShape shape;
    Cadence cadence;
    int64_t limit = 0;  // cycle by which it has ended
    std::unique_ptr<PeLayout> layout;
    std::vector<PeRow> weights;
    std::vector<uint8_t> visits;  // (rows, strips): 0, or why the row visits ReCoN
    StructuralResult result;
    int64_t left = 0;  // sums that haven't come yet
    std::vector<int64_t> sums;
  };
  // The next activation row that enters an array row.
  struct Feed {
    size_t job = 0;
    int m = 0;
  };

  void Reset(const std::vector<StructuralJob>& jobs);
  void AddJob(const StructuralJob& job);
  void AddLoads(const std::vector<StructuralJob>& jobs);
  // Throws SimError unless a row's weights, or its merges, are those of the matmul that needs them.
  void CheckLoaded(int64_t cycle, int row, int column, const StructuralJob& job, bool merges) const;
  void Cycle(int64_t cycle);
  void FeedRow(int64_t cycle, int row);
  void StartStrips(int64_t cycle, int row);
  // The activation that an array row takes where a column starts its list.
  static int8_t Listed(const StructuralJob& job, int m, int row, int column);
  // The columns from `first` on that get an activation in the same cycle.
  void EnterTogether(int64_t cycle, int row, int first, const Activation& activation);
  void Enter(int64_t cycle, int row, int column, const Activation& activation);
  void Work(int64_t cycle, int row, int column);
  void Below(int64_t cycle, int row, int column, const Psum& sum);
  void Collect(int64_t cycle, int column, const Psum& sum);
  int64_t Limit() const;
  Activation& ActivationAt(int row, int column) { return activations_[row * shape_.cols + column]; }
  uint8_t& AwakeAt(int row, int column) { return awake_[row * shape_.cols + column]; }
  Psum& PsumAt(int row, int column) { return psums_[row * shape_.cols + column]; }

  const ArchNumbers arch_;
  const StuckSwitch stuck_;
  Guard* const guard_;  // told of each cycle, unless it is null
  ReconShape shape_;
  const Sink* sink_ = nullptr;
  size_t ended_ = 0;  // matmuls whose sums are all there
  std::vector<JobState> jobs_;
  std::vector<Feed> feeds_;                // by array row
  std::vector<Activation> lanes_;          // activations on their way to the strips
  std::vector<Fifo<Activation>> waiting_;  // (rows, strips): until the strip's sums are there
  std::vector<Activation> activations_;    // registers on the left of the PEs
  std::vector<Psum> psums_;                // registers above the PEs
  std::vector<uint8_t> awake_;             // whether a PE has something in its registers
  std::vector<Feed> expected_;             // the next sum of each column
  std::vector<int64_t> collected_;         // cycle of the last one
  std::vector<int> strip_of_;              // of each column
  std::vector<ReconStrip> strips_;
  std::optional<WeightRegisters> registers_;  // if the matmuls say what was loaded
};

}  // namespace microscopiq
