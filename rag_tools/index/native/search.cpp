#include "search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

namespace rag_tools {
namespace {

// Products of a query value and a token's value below which one thread does the work: measured 11
// ms of it with AVX-512, 27 ms with AVX2.
#ifdef SINGLE_THREADED
constexpr double kSingleThreaded = SINGLE_THREADED;
#else
constexpr double kSingleThreaded = 2e9;
#endif

int padded_to(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

constexpr float kNothing = 1e-30f;   // a vector without larger values is zero

// The largest absolute value of a query vector.
float largest_of(const float* vector, int dim) {
    float largest = 0;
    for (int i = 0; i < dim; ++i) {
        if (!std::isfinite(vector[i])) throw std::invalid_argument("a query vector isn't finite");
        largest = std::max(largest, std::fabs(vector[i]));
    }
    return largest;
}

// Query tokens in 16 bits. What a table or the codec multiplies each dimension by is folded in.
class PreparedQuery {
  public:
    PreparedQuery(const Kernel& kernel, const Vectors& vectors, const float* steps, int groups)
        : padded_(padded_to(vectors.n, kLanes)),
          rows_(static_cast<size_t>(padded_) * groups * 8),
          bias_(2 * static_cast<size_t>(padded_)),
          scales_(padded_),
          sums_(vectors.n),
          low_sums_(vectors.n) {
        const int dim = groups * 4;
        std::vector<int16_t> integers(static_cast<size_t>(padded_) * dim);
        std::vector<float> folded(vectors.dim);
        std::fill_n(scales_.data(), padded_, 0.0f);
        for (int row = 0; row < vectors.n; ++row) {
            const float* vector = vectors.data + static_cast<size_t>(row) * vectors.dim;
            for (int i = 0; i < vectors.dim; ++i)
                folded[i] = steps ? vector[i] * steps[i] : vector[i];
            const float largest = largest_of(folded.data(), vectors.dim);
            if (largest < kNothing) continue;
            scales_[row] = largest / kQueryMax;
            for (int i = 0; i < vectors.dim; ++i) {
                const int value = static_cast<int>(std::lrint(folded[i] / largest * kQueryMax));
                integers[static_cast<size_t>(row) * dim + i] = static_cast<int16_t>(value);
                sums_[row] += std::abs(value);
                low_sums_[row] += std::abs(low_byte(value));
            }
        }
        kernel.arrange(integers.data(), padded_, groups, rows_.data(), bias_.data());
        query_ = {vectors.n, padded_, groups, rows_.data(), bias_.data(), scales_.data()};
    }

    const Query& query() const { return query_; }

    // The largest product of a query token and a token whose values are within `largest`, and
    // the most that the low bytes contribute to it.
    double magnitude(int row, double largest) const {
        return static_cast<double>(sums_[row]) * scales_.data()[row] * largest;
    }
    double low_magnitude(int row, double largest) const {
        return static_cast<double>(low_sums_[row]) * scales_.data()[row] * largest;
    }

  private:
    int padded_;
    Buffer<char> rows_;
    Buffer<int32_t> bias_;
    Buffer<float> scales_;
    std::vector<int64_t> sums_, low_sums_;
    Query query_;
};

// An array that its thread keeps from one query to the next: the system takes longer to hand out
// fresh pages than the stages to fill them. Larger ones are given back.
template <class T>
class Kept {
  public:
    // At least `n` elements; those never used before are zero.
    T* take(size_t n) {
        if (elements_.size() * sizeof(T) > kMost && n < elements_.size())
            std::vector<T>().swap(elements_);
        if (elements_.size() < n) elements_.resize(n);
        return elements_.data();
    }

  private:
    static constexpr size_t kMost = size_t{64} << 20;   // bytes
    std::vector<T> elements_;
};

// What a passage has been credited with.
struct Credit {
    float score;
    int32_t token;   // the last query token that credited it, counted from 1
};

struct Workspace {
    Kept<float> table;      // similarities to centroids
    Kept<float> largest;    // the largest of some
    Kept<int32_t> rows;     // of centroids in the table, counted from 1; zero between queries
    Kept<Credit> credits;   // zero between queries
    Kept<uint32_t> credited;   // passages
};
thread_local Workspace workspace;

size_t scratch_bytes(const Query& query) { return static_cast<size_t>(query.groups) * 128; }

// Call `work(chunk)` for every chunk. Chunks don't depend on the number of threads, and each
// writes where no other does, so neither does the result.
template <class Work>
void parallel(int64_t chunks, int threads, const Work& work) {
    std::atomic<int64_t> next{0};
    const auto run = [&] {
        for (int64_t chunk = next++; chunk < chunks; chunk = next++) work(chunk);
    };
    std::vector<std::thread> helpers;
    const int64_t wanted = std::min<int64_t>(threads, chunks) - 1;
    try {
        for (int64_t i = 0; i < wanted; ++i) helpers.emplace_back(run);
    } catch (const std::system_error&) {
        // The system gives no more threads: those there are do all the work.
    }
    run();
    for (std::thread& helper : helpers) helper.join();
}

int threads_for(const Query& query, int64_t tokens, int threads) {
    const double products = static_cast<double>(tokens) * query.padded * query.groups * 4;
    return products < kSingleThreaded ? 1 : std::max(threads, 1);
}

// Similarities of the query to the centroids that some tokens have. One at a time in a thread.
class CentroidTable {
  public:
    explicit CentroidTable(const Centroids& centroids)
        : centroids_(centroids), rows_(workspace.rows.take(static_cast<size_t>(centroids.n))) {}
    ~CentroidTable() {
        for (const uint32_t centroid : chosen_) rows_[centroid] = 0;
    }
    CentroidTable(const CentroidTable&) = delete;
    CentroidTable& operator=(const CentroidTable&) = delete;

    void need(const Tokens& tokens, int64_t first, int64_t last) {
        for (int64_t token = first; token < last; ++token) {
            const uint32_t centroid = centroid_of(tokens, token);
            if (centroid >= centroids_.n)
                throw std::out_of_range("a token's centroid isn't in the codebook");
            if (rows_[centroid]) continue;
            chosen_.push_back(centroid);
            rows_[centroid] = static_cast<int32_t>(chosen_.size());
        }
    }

    // Compute the rows needed.
    Table compute(const Kernel& kernel, const Vectors& vectors, int threads) {
        const PreparedQuery prepared(kernel, vectors, nullptr, padded_to(vectors.dim, 4) / 4);
        const Query& query = prepared.query();
        const int64_t n = static_cast<int64_t>(chosen_.size());
        float* scores = workspace.table.take(static_cast<size_t>(n + 1) * query.padded);
        float* first_row = scores + query.padded;   // rows are counted from 1
        constexpr int64_t kChunk = 1024;
        parallel((n + kChunk - 1) / kChunk, threads_for(query, n, threads), [&](int64_t chunk) {
            Buffer<char> scratch(scratch_bytes(query));
            const int64_t first = chunk * kChunk;
            kernel.centroids(query, centroids_, chosen_.data() + first,
                             std::min(kChunk, n - first), scratch.data(),
                             first_row + first * query.padded);
        });
        float scale = 0;
        for (const uint32_t centroid : chosen_)
            scale = std::max(scale, std::fabs(centroids_.scales[centroid]));
        magnitudes_.resize(query.n);
        for (int row = 0; row < query.n; ++row)
            magnitudes_[row] = prepared.magnitude(row, 128.0 * scale);
        return {scores, rows_};
    }

    // The largest similarity that a query token can have to a centroid.
    double magnitude(int row) const { return magnitudes_[row]; }

  private:
    const Centroids& centroids_;
    int32_t* rows_;
    std::vector<uint32_t> chosen_;
    std::vector<double> magnitudes_;
};

std::pair<int64_t, int64_t> token_range(const Segment& segment, int64_t position) {
    if (position < 0 || position >= segment.n_passages)
        throw std::out_of_range("no passage has this position");
    const int64_t first = segment.token_offsets[position];
    const int64_t last = segment.token_offsets[position + 1];
    if (first < 0 || last < first || last > segment.n_tokens)
        throw std::out_of_range("a passage's tokens aren't in the segment");
    return {first, last};
}

}  // namespace

void centroid_scores(const Kernel& kernel, const Vectors& vectors, const Centroids& centroids,
                     int threads, float* scores) {
    const PreparedQuery prepared(kernel, vectors, nullptr, padded_to(vectors.dim, 4) / 4);
    const Query& query = prepared.query();
    constexpr int64_t kChunk = 64;
    parallel((centroids.n + kChunk - 1) / kChunk, threads_for(query, centroids.n, threads),
             [&](int64_t chunk) {
                 Buffer<char> scratch(scratch_bytes(query));
                 Buffer<float> rows(kChunk * query.padded);
                 const int64_t first = chunk * kChunk;
                 const int64_t n = std::min(kChunk, centroids.n - first);
                 uint32_t chosen[kChunk];
                 for (int64_t i = 0; i < n; ++i) chosen[i] = static_cast<uint32_t>(first + i);
                 kernel.centroids(query, centroids, chosen, n, scratch.data(), rows.data());
                 for (int row = 0; row < query.n; ++row)
                     for (int64_t i = 0; i < n; ++i)
                         scores[row * centroids.n + first + i] = rows[i * query.padded + row];
             });
}

namespace {

// Passages of some segments, in runs of one segment.
struct Candidates {
    struct Run {
        int64_t segment, first, n;
    };
    std::vector<int64_t> positions;
    std::vector<Run> runs;   // short enough for one thread at a time
    int64_t n_tokens = 0;

    void add(const std::vector<Segment>& segments, const Place& place) {
        constexpr int64_t kRun = 64;
        if (place.segment < 0 || place.segment >= static_cast<int64_t>(segments.size()))
            throw std::out_of_range("no segment has this number");
        const auto [first, last] = token_range(segments[place.segment], place.position);
        n_tokens += last - first;
        if (runs.empty() || runs.back().segment != place.segment || runs.back().n == kRun)
            runs.push_back({place.segment, static_cast<int64_t>(positions.size()), 0});
        ++runs.back().n;
        positions.push_back(place.position);
    }
};

// Have the centroids, gains and inverse norms of a passage brought into the cache.
void prefetch(const Segment& segment, int64_t position) {
    const int64_t first = segment.token_offsets[position];
    const int64_t last = segment.token_offsets[position + 1];
    const size_t size = segment.tokens.wide ? sizeof(uint32_t) : sizeof(uint16_t);
    const char* centroids = static_cast<const char*>(segment.tokens.centroids);
    for (int64_t token = first; token < last; token += 16)
        RAG_TOOLS_PREFETCH(centroids + static_cast<size_t>(token) * size);
    for (int64_t token = first; token < last; token += 32)
        RAG_TOOLS_PREFETCH(segment.tokens.inverse_norms + token);
    for (int64_t token = first; token < last; token += 64)
        RAG_TOOLS_PREFETCH(segment.tokens.gains + token);
}

void score(ScorePassages stage, const Query& query, const Table& table, const float* weights,
           const std::vector<Segment>& segments, const Candidates& candidates, int threads,
           float* scores, const Error& error = {}, float* errors = nullptr) {
    parallel(static_cast<int64_t>(candidates.runs.size()),
             threads_for(query, candidates.n_tokens, threads), [&](int64_t chunk) {
                 const Candidates::Run& run = candidates.runs[chunk];
                 const Segment& segment = segments[run.segment];
                 Buffer<char> scratch(scratch_bytes(query));
                 Buffer<float> best(query.padded);
                 stage(query, segment.tokens, table, weights, segment.token_offsets,
                       candidates.positions.data() + run.first, run.n, error, scratch.data(),
                       best.data(), scores + run.first, errors ? errors + run.first : nullptr);
             });
}

// The most by which a coarse score and an exact one can differ.
//
// Of a query token the coarse product leaves out the low bytes: at most their sum of absolute
// values times the largest value of the codec. Each float operation on a similarity (four), on
// the weighted sum (two a query token) and on its scale may round by 2**-24 of the largest value
// there can be, in both scores; so may those that add the error up. Tokens' maxima, weighted,
// differ by no more than their elements.
Error coarse_error(const PreparedQuery& prepared, const CentroidTable& table, const float* weights,
                   const Tokens& tokens) {
    double largest = 0, of_centroids = 0, of_residuals = 0;
    for (int i = 0; i < 2 * kValues; ++i)
        largest = std::max(largest, std::fabs(static_cast<double>(tokens.values[i])));
    const int n = prepared.query().n;
    const double rounding = 2 * (2 * n + 8) * std::ldexp(1.0, -24);
    for (int row = 0; row < n; ++row) {
        const double weight = std::fabs(weights[row]);
        of_centroids += weight * rounding * table.magnitude(row);
        of_residuals += weight * (prepared.low_magnitude(row, largest) +
                                  rounding * prepared.magnitude(row, largest));
    }
    const double rounded = 1 + 8 * std::ldexp(1.0, -24);
    return {static_cast<float>(of_centroids * rounded),
            static_cast<float>(of_residuals * rounded)};
}

}  // namespace

void refine(const Kernel& kernel, const Vectors& vectors, const float* weights,
            const Centroids& centroids, const std::vector<Segment>& segments, const Place* places,
            const double* priors, int64_t n, int64_t limit, double slack, int threads,
            float* scores) {
    if (n == 0) return;
    Candidates all;
    CentroidTable centroid_table(centroids);
    for (int64_t i = 0; i < n; ++i) all.add(segments, places[i]);
    for (int64_t i = 0; i < n; ++i) {
        constexpr int64_t kAhead = 4;
        if (i + kAhead < n) prefetch(segments[places[i + kAhead].segment],
                                     places[i + kAhead].position);
        const Segment& segment = segments[places[i].segment];
        centroid_table.need(segment.tokens, segment.token_offsets[places[i].position],
                            segment.token_offsets[places[i].position + 1]);
    }
    const Tokens& tokens = segments[0].tokens;   // of one codec, all of them
    const PreparedQuery prepared(kernel, vectors, segments[0].steps,
                                 tokens.layout.padded() / 4);
    const Query& query = prepared.query();
    const Table table = centroid_table.compute(kernel, vectors, threads);
    if (!kernel.coarse || limit >= n) {
        score(kernel.maxsim, query, table, weights, segments, all, threads, scores);
        return;
    }
    std::vector<float> errors(n);
    score(kernel.coarse, query, table, weights, segments, all, threads, scores,
          coarse_error(prepared, centroid_table, weights, tokens), errors.data());
    std::vector<double> low(n);
    for (int64_t i = 0; i < n; ++i) low[i] = scores[i] + priors[i] - errors[i];
    std::nth_element(low.begin(), low.begin() + (limit - 1), low.end(), std::greater<double>());
    const double floor = low[limit - 1] - slack;
    Candidates kept;
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < n; ++i) {
        if (scores[i] + priors[i] + errors[i] >= floor) {
            kept.add(segments, places[i]);
            rows.push_back(i);
        }
        scores[i] = -std::numeric_limits<float>::infinity();
    }
    std::vector<float> exact(rows.size());
    score(kernel.maxsim, query, table, weights, segments, kept, threads, exact.data());
    for (size_t i = 0; i < rows.size(); ++i) scores[rows[i]] = exact[i];
}

void similarities(const Kernel& kernel, const Vectors& vectors, const Centroids& centroids,
                  const Segment& segment, int64_t position, float* similarities) {
    const auto [first, last] = token_range(segment, position);
    const int64_t n_tokens = last - first;
    CentroidTable table(centroids);
    table.need(segment.tokens, first, last);
    const PreparedQuery prepared(kernel, vectors, segment.steps,
                                 segment.tokens.layout.padded() / 4);
    const Query& query = prepared.query();
    Buffer<char> scratch(scratch_bytes(query));
    Buffer<float> by_token(static_cast<size_t>(n_tokens) * query.padded);
    kernel.similarities(query, segment.tokens, table.compute(kernel, vectors, 1), first, last,
                        scratch.data(), by_token.data());
    for (int row = 0; row < query.n; ++row)
        for (int64_t token = 0; token < n_tokens; ++token)
            similarities[row * n_tokens + token] = by_token[token * query.padded + row];
}

namespace {

// Query tokens in one byte a value: it says well enough which centroids are near.
class PreparedBytes {
  public:
    PreparedBytes(const Vectors& vectors, int groups)
        : values_(static_cast<size_t>(vectors.n) * groups * 4), scales_(vectors.n) {
        for (int row = 0; row < vectors.n; ++row) {
            const float* vector = vectors.data + static_cast<size_t>(row) * vectors.dim;
            const float largest = largest_of(vector, vectors.dim);
            if (largest < kNothing) continue;
            scales_[row] = largest / kQueryMax * kHigh;
            for (int i = 0; i < vectors.dim; ++i)
                values_[static_cast<size_t>(row) * groups * 4 + i] =
                    static_cast<int8_t>(std::lrint(vector[i] / largest * (kQueryMax / kHigh)));
        }
        query_ = {vectors.n, values_.data(), scales_.data()};
    }

    const ByteQuery& query() const { return query_; }

  private:
    std::vector<int8_t> values_;
    std::vector<float> scales_;
    ByteQuery query_;
};

struct Visit {
    int64_t cell;
    float similarity;
};

// Similarities of query tokens to all centroids. One at a time in a thread.
class CellTable {
  public:
    CellTable(const Kernel& kernel, const Vectors& vectors, const TiledCentroids& centroids,
              int threads)
        : kernel_(kernel), n_(centroids.n()), n_chunks_(centroids.tiles().n_chunks) {
        const Tiles& tiles = centroids.tiles();
        const PreparedBytes prepared(vectors, tiles.groups);
        const ByteQuery& query = prepared.query();
        const size_t n_largest = static_cast<size_t>(query.n) * n_chunks_ * kTileCells;
        scores_ = {workspace.table.take(n_largest * kChunkTiles),
                   workspace.largest.take(n_largest)};
        constexpr int64_t kWork = 32;   // chunks of one thread
        const double products = static_cast<double>(n_largest) * kChunkTiles * tiles.groups * 4;
        parallel((n_chunks_ + kWork - 1) / kWork,
                 products < kSingleThreaded ? 1 : std::max(threads, 1), [&](int64_t part) {
                     Buffer<char> scratch(static_cast<size_t>(query.n) * tiles.groups * 8);
                     kernel.tiles(query, tiles, part * kWork,
                                  std::min((part + 1) * kWork, n_chunks_), scratch.data(),
                                  scores_);
                 });
    }

    // Cells by falling similarity to one query token, ties by number, until they hold `reach`
    // passages. `expected`: how many there may be, for speed alone.
    std::vector<Visit> nearest(int row, const int64_t* sizes, int64_t reach,
                               int64_t expected) const {
        const int64_t n_largest = n_chunks_ * kTileCells;
        const float* largest = scores_.largest + row * n_largest;
        std::vector<Visit> found;
        for (int64_t m = std::max<int64_t>(expected, 1);; m *= 2) {
            const float border = m < n_largest ? kernel_.border(largest, n_largest, m)
                                               : -std::numeric_limits<float>::infinity();
            const int64_t held = collect(row, border, sizes, found);
            if (held >= reach || m >= n_largest) break;
        }
        std::sort(found.begin(), found.end(), [](const Visit& a, const Visit& b) {
            return a.similarity != b.similarity ? a.similarity > b.similarity : a.cell < b.cell;
        });
        int64_t held = 0;
        size_t count = 0;
        while (count < found.size() && held < reach) held += sizes[found[count++].cell];
        found.resize(std::max<size_t>(count, std::min<size_t>(1, found.size())));
        return found;
    }

  private:
    // List the cells that are at least as similar as `border`; return how many passages they hold.
    int64_t collect(int row, float border, const int64_t* sizes, std::vector<Visit>& found) const {
        const int64_t n_largest = n_chunks_ * kTileCells;
        const float* largest = scores_.largest + row * n_largest;
        const float* similarities = scores_.similarities + row * n_largest * kChunkTiles;
        int64_t held = 0;
        found.clear();
        for (int64_t at = 0; at < n_largest; ++at) {
            if (largest[at] < border) continue;
            const int64_t chunk = at / kTileCells, lane = at % kTileCells;
            for (int64_t tile = 0; tile < kChunkTiles; ++tile) {
                const int64_t cell = at * kChunkTiles + tile;
                const float similarity =
                    similarities[(chunk * kChunkTiles + tile) * kTileCells + lane];
                if (cell >= n_ || similarity < border) continue;
                found.push_back({cell, similarity});
                held += sizes[cell];
            }
        }
        return held;
    }

    const Kernel& kernel_;
    int64_t n_, n_chunks_;
    CellScores scores_;
};

// Passages that a query token meets in one cell: postings from `first` to `last`.
struct Members {
    int64_t first, last;
    int32_t token;
    float gain;
};

struct Found {
    float score;
    Place place;
};

bool before(const Place& a, const Place& b) {
    return a.segment != b.segment ? a.segment < b.segment : a.position < b.position;
}

// Credits the passages of one segment, and lists those that got any.
class Credits {
  public:
    Credits(int64_t segment, int64_t n_passages, const uint8_t* selected)
        : segment_(segment), n_passages_(n_passages), selected_(selected),
          credits_(workspace.credits.take(static_cast<size_t>(n_passages))),
          credited_(workspace.credited.take(static_cast<size_t>(n_passages) + 1)) {}
    ~Credits() {
        for (int64_t i = 0; i < n_credited_; ++i) credits_[credited_[i]] = {};
    }
    Credits(const Credits&) = delete;
    Credits& operator=(const Credits&) = delete;

    // Once for each token and passage; a `gain` is positive.
    void add(int64_t passage, int32_t token, float gain) {
        if (passage < 0 || passage >= n_passages_)
            throw std::out_of_range("a posting names no passage");
        // Without branches: whether a passage is new can't be predicted.
        Credit& credit = credits_[passage];
        credited_[n_credited_] = static_cast<uint32_t>(passage);
        n_credited_ += credit.token == 0;
        const uint32_t mask = 0u - static_cast<uint32_t>(credit.token != token);
        uint32_t bits;
        std::memcpy(&bits, &gain, sizeof bits);
        bits &= mask;
        std::memcpy(&gain, &bits, sizeof bits);
        credit.score += gain;
        credit.token = token;
    }

    template <class Number>
    void add(const Number* first, const Number* last, int32_t token, float gain) {
        for (; first < last; ++first) add(static_cast<int64_t>(*first), token, gain);
    }

    void list(std::vector<Found>& found) const {
        for (int64_t i = 0; i < n_credited_; ++i)
            if (selected_[credited_[i]])
                found.push_back({credits_[credited_[i]].score, {segment_, credited_[i]}});
    }

  private:
    int64_t segment_, n_passages_;
    const uint8_t* selected_;
    Credit* credits_;
    uint32_t* credited_;
    int64_t n_credited_ = 0;
};

// Keep the `wanted` best; ties by place.
void keep_best(const Kernel& kernel, std::vector<Found>& found, int64_t wanted) {
    const auto better = [](const Found& a, const Found& b) {
        return a.score != b.score ? a.score > b.score : before(a.place, b.place);
    };
    const int64_t n = static_cast<int64_t>(found.size());
    if (n <= wanted) return;
    if (wanted <= 0) return found.clear();
    // Most are out of the question: a border that `wanted` reach, and not many more.
    std::vector<float> scores(found.size());
    for (size_t i = 0; i < found.size(); ++i) scores[i] = found[i].score;
    const float border = kernel.border(scores.data(), n, wanted);
    found.erase(std::remove_if(found.begin(), found.end(),
                               [&](const Found& each) { return each.score < border; }),
                found.end());
    std::nth_element(found.begin(), found.begin() + (wanted - 1), found.end(), better);
    found.resize(static_cast<size_t>(wanted));
}

}  // namespace

TiledCentroids::TiledCentroids(const Centroids& centroids) : n_(centroids.n) {
    constexpr int64_t kChunkCells = int64_t{kTileCells} * kChunkTiles;
    const int groups = padded_to(centroids.dim, 4) / 4;
    const int64_t n_chunks = (n_ + kChunkCells - 1) / kChunkCells;
    values_.resize(static_cast<size_t>(n_chunks * kChunkCells) * groups * 4);
    sums_.resize(static_cast<size_t>(n_chunks * kChunkCells));
    scales_.resize(static_cast<size_t>(n_chunks * kChunkCells));
    for (int64_t cell = 0; cell < n_; ++cell) {
        const int8_t* values = centroids.quantized + cell * centroids.dim;
        const int64_t tile = cell / kChunkCells * kChunkTiles + cell % kChunkTiles;
        const int64_t lane = cell % kChunkCells / kChunkTiles;
        const size_t at = static_cast<size_t>(tile * kTileCells + lane);
        int8_t* out = values_.data() + tile * groups * 4 * kTileCells + lane * 4;
        for (int i = 0; i < centroids.dim; ++i) {
            out[i / 4 * 4 * kTileCells + i % 4] = values[i];
            sums_[at] += values[i];
        }
        if (!std::isfinite(centroids.scales[cell]))
            throw std::invalid_argument("a centroid's scale isn't finite");
        scales_[at] = centroids.scales[cell];
    }
    tiles_ = {values_.data(), sums_.data(), scales_.data(), n_chunks, groups};
}

CellDirectory::CellDirectory(const uint32_t* cells, int64_t n_cells, int64_t n_centroids)
    : words_(static_cast<size_t>((n_centroids + 63) / 64)) {
    for (int64_t i = 0; i < n_cells; ++i) {
        if (cells[i] >= n_centroids || (i && cells[i] <= cells[i - 1]))
            throw std::out_of_range("a cell isn't in the codebook");
        words_[cells[i] / 64].bits |= uint64_t{1} << cells[i] % 64;
    }
    int64_t before = 0;
    for (Word& word : words_) {
        word.before = before;
        before += ones(word.bits);
    }
}

std::vector<Place> gather(const Kernel& kernel, const Vectors& vectors, const float* weights,
                          const Cells& cells, const Place* boosted, const float* boosts,
                          int64_t n_boosted, int64_t reach, int64_t wanted, int threads) {
    constexpr size_t kExpected = 16;
    // The cells that each query token visits, and what a passage gains from them.
    std::vector<std::vector<Visit>> visits;
    {
        const CellTable table(kernel, vectors, *cells.centroids, threads);
        size_t expected = kExpected;   // of one token about as many as of the one before
        for (int row = 0; row < vectors.n; ++row) {
            visits.push_back(
                table.nearest(row, cells.sizes, reach, static_cast<int64_t>(expected)));
            expected = std::max(visits.back().size(), kExpected);
            const float frontier = visits.back().empty() ? 0 : visits.back().back().similarity;
            for (Visit& visit : visits.back())
                visit.similarity = (visit.similarity - frontier) * weights[row];
        }
    }
    std::vector<Found> found;
    std::vector<Members> members;
    for (size_t segment = 0; segment < cells.postings.size(); ++segment) {
        const Postings& postings = cells.postings[segment];
        Credits credits(static_cast<int64_t>(segment), cells.n_passages[segment],
                        cells.selected[segment]);
        for (int64_t i = 0; i < n_boosted; ++i)
            if (boosted[i].segment == static_cast<int64_t>(segment) && boosts[i] > 0)
                credits.add(boosted[i].position, -1, boosts[i]);
        // First all lookups, then all postings, each asked for some steps before it is read.
        members.clear();
        for (size_t row = 0; row < visits.size(); ++row) {
            for (const Visit& visit : visits[row]) {
                const int64_t at = postings.directory->find(visit.cell);
                if (at < 0 || !(visit.similarity > 0)) continue;
                RAG_TOOLS_PREFETCH(postings.offsets + at);
                members.push_back({at, 0, static_cast<int32_t>(row) + 1, visit.similarity});
            }
        }
        for (Members& each : members) {
            const int64_t at = each.first;
            each.first = postings.offsets[at];
            each.last = postings.offsets[at + 1];
            if (each.last > postings.n_members)
                throw std::out_of_range("a posting isn't in the segment");
        }
        constexpr size_t kAhead = 8;
        for (size_t i = 0; i < members.size(); ++i) {
            if (i + kAhead < members.size())
                RAG_TOOLS_PREFETCH(postings.address(members[i + kAhead].first));
            const Members& each = members[i];
            if (postings.wide)
                credits.add(postings.wide_passages() + each.first,
                            postings.wide_passages() + each.last, each.token, each.gain);
            else
                credits.add(postings.narrow_passages() + each.first,
                            postings.narrow_passages() + each.last, each.token, each.gain);
        }
        credits.list(found);
    }
    keep_best(kernel, found, wanted);
    std::vector<Place> places;
    for (const Found& each : found) places.push_back(each.place);
    std::sort(places.begin(), places.end(), before);
    // Nothing speaks for the others: the first ones fill up.
    const std::vector<Place> credited = places;
    auto next = credited.begin();
    for (size_t segment = 0; segment < cells.postings.size(); ++segment)
        for (int64_t position = 0; position < cells.n_passages[segment]; ++position) {
            if (static_cast<int64_t>(places.size()) >= wanted) break;
            const Place place = {static_cast<int64_t>(segment), position};
            if (next != credited.end() && !before(place, *next))
                ++next;
            else if (cells.selected[segment][position])
                places.push_back(place);
        }
    if (places.size() != credited.size()) std::sort(places.begin(), places.end(), before);
    return places;
}

}  // namespace rag_tools
