import cf from 'cloudfront';
