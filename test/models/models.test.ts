import { gemma2 } from './gemma2';
import { testModel } from './harness';
import { llama } from './llama';

testModel('llama', llama);
testModel('mistral', llama);
testModel('gemma2', gemma2);
