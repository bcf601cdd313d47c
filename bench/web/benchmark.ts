// The code that benchmark.js makes for a page looks for it in the global scope.
import './lodash';
import Benchmark from 'benchmark';

Object.assign(globalThis, { Benchmark });
