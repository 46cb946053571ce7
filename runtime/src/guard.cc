#include "guard.h"

namespace microscopiq {

void Guard::Look() {
  since_look_ = 0;
  const Clock::time_point now = Clock::now();
  if (now - asked_ < kBetweenQuestions) return;
  asked_ = now;
  if (ask_()) throw Interrupted();
}

void Guard::FailBudget(int64_t limit, const char* what) {
  Fail(kBudgetError, "the run takes more than its budget, max_", what, " = ", limit,
       "; to let it go on: a higher max_", what, ", or 0 for no limit");
}

}  // namespace microscopiq
