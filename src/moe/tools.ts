export { type RoutingStats, routingStats } from './routingStats';
